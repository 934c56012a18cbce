// What the page does not need to begin with, as one chunk: dialogs, and coding sessions.

export { OpenDialog } from "./chrome/dialogs";
export { join } from "./coding/join";
export { CodingCard } from "./transcript/coding";
