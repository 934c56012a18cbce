// A repository for coding sessions to work in: one file and one commit, among temporary files.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class Repository {
  readonly #folder = mkdtempSync(join(tmpdir(), "hgw-git-"));
  readonly path = join(this.#folder, "project");

  constructor() {
    mkdirSync(this.path);
    writeFileSync(join(this.path, "calc.py"), "def add(a, b):\n    return a + b\n");
    this.#git("init", "--quiet");
    this.#git("add", ".");
    this.#git("commit", "--quiet", "--message", "Begin");
  }

  /** The beginning of `[sessions]` of a gateway whose sessions work here. */
  sessions(engine: string): string {
    return `[sessions]\nengine = "${engine}"\nworkspaces = { project = "${this.path}" }\ndefault_workspace = "project"\n`;
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #git(...words: string[]): void {
    execFileSync("git", ["-c", "user.name=t", "-c", "user.email=t@example.org", ...words], { cwd: this.path });
  }
}
