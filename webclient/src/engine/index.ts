// The engine's public face; the page imports from here and from ../model.ts only.

export type * from "./api";
export type * from "./text/trees";
export { browserSurroundings, type Surroundings } from "./surroundings";
