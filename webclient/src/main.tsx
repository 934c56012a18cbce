import { render } from "preact";
import { browserSurroundings, startEngine } from "./engine";
import { App } from "./ui/app";
import { new_bench } from "./ui/bench";

const engine = startEngine(browserSurroundings());
render(<App bench={new_bench(engine)} />, document.getElementById("app")!);
void engine.boot();
