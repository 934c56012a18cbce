// Gathers what has changed and publishes it once a frame of the screen, however many pieces came in between. On a machine
// that cannot paint that often, every second or third frame.

import { batch } from "@preact/signals-core";

export interface Painting {
  /** Gives signals their present values. */
  publish(): void;
}

/** Milliseconds between two frames from which on one is left out, and two. */
const SLOW = 24;
const VERY_SLOW = 48;

export class Painter {
  readonly #beforeFrame: (call: () => void) => void;
  readonly #elapsed: () => number;
  readonly #changed = new Set<Painting>();
  #asked = false;
  #skip = 0;
  #painted = 0;

  constructor(beforeFrame: (call: () => void) => void, elapsed: () => number) {
    this.#beforeFrame = beforeFrame;
    this.#elapsed = elapsed;
  }

  /** It is to be published with the next frame. */
  request(painting: Painting): void {
    this.#changed.add(painting);
    if (this.#asked) return;
    this.#asked = true;
    this.#beforeFrame(() => this.#frame());
  }

  /** Publishes all now. */
  flush(): void {
    const changed = [...this.#changed];
    this.#changed.clear();
    if (changed.length > 0) batch(() => changed.forEach((painting) => painting.publish()));
  }

  #frame(): void {
    if (this.#skip > 0) {
      this.#skip -= 1;
      this.#beforeFrame(() => this.#frame());
      return;
    }
    this.#asked = false;
    const since = this.#elapsed();
    // The frame before was painted for us: how long it kept this one waiting is what painting costs.
    const cost = since - this.#painted;
    this.flush();
    this.#painted = since;
    if (cost < 1000) this.#skip = cost > VERY_SLOW ? 2 : cost > SLOW ? 1 : 0;
  }
}
