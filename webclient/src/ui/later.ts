// What the page does not need to begin with, as one chunk: dialogs, coding sessions, the
// inspector's further panels, and the controls of a record.

export { panels } from "./inspector/panels";
export { OpenDialog } from "./chrome/dialogs";
export { join } from "./coding/join";
export { ReplayBar } from "./sessions/replay";
export { CodingCard } from "./transcript/coding";
