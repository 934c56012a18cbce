// The engine's public face; the page imports from here and from ../model only, and loads ./text/highlight and ./text/diff
// when it needs them.

export type * from "./api";
export type * from "./codex/api";
export type * from "./text/trees";
export { browserSurroundings, type Surroundings } from "./surroundings";
export { startEngine } from "./engine";
export { shapeOf, shapeOfValue } from "./shape";
export { defaultSettings, samplingRanges } from "./settings";
export { MarkdownReader } from "./text/markdown";
