// What the page does not need to begin with, as one chunk: dialogs, and the cards of coding sessions.

export { OpenDialog } from "./chrome/dialogs";
export { CodingCard } from "./transcript/coding";
