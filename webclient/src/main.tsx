import { render } from "preact";

render(<main>hadesgw</main>, document.getElementById("app")!);
