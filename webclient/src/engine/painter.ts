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
  /** When a frame was painted whose successor has not come; null if there is none. */
  #painted: number | null = null;

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
    const now = this.#elapsed();
    if (this.#painted !== null) {
      // How long the next frame took to come is what painting this one cost.
      const cost = now - this.#painted;
      this.#skip = cost > VERY_SLOW ? 2 : cost > SLOW ? 1 : 0;
      this.#painted = null;
    }
    if (this.#changed.size === 0) {
      this.#asked = false;
      return;
    }
    if (this.#skip > 0) this.#skip -= 1;
    else {
      this.flush();
      this.#painted = now;
    }
    this.#beforeFrame(() => this.#frame());
  }
}
