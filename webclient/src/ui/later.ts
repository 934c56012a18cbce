// What the page does not need to begin with, as one chunk: dialogs, coding sessions, and the controls of a record.

export { OpenDialog } from "./chrome/dialogs";
export { join } from "./coding/join";
export { ReplayBar } from "./sessions/replay";
export { CodingCard } from "./transcript/coding";
