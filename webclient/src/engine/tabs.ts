// What the tabs of one browser have to say to each other: which of them may change a session, and that one was changed.

export type Message =
  /** What is on the shelf of that session is new. */
  | { readonly kind: "changed"; readonly thread: string }
  /** Another tab wants to write in it. `insist`: also if it is shown here. */
  | { readonly kind: "wanted"; readonly thread: string; readonly insist: boolean };

export interface Tabs {
  /**
   * Asks for a name that one tab at a time may have. `told` hears soon whether it is had, and if not, later that it is.
   * Returns what gives it back. Tabs that end give back what they had.
   */
  claim(name: string, told: (mine: boolean) => void): () => void;
  tell(message: Message): void;
  /** Calls for each message of another tab; returns what ends that. */
  hear(call: (message: Message) => void): () => void;
}

const NAME = "hadesgw.sessions";

/** Those of the browser. @param locks null where the browser has none for us: then each tab has what it asks for. */
export function browserTabs(locks: LockManager | null): Tabs {
  const channel = typeof BroadcastChannel === "function" ? new BroadcastChannel(NAME) : null;
  return {
    claim: (name, told) => (locks ? claim(locks, `${NAME}.${name}`, told) : (told(true), () => undefined)),
    tell: (message) => channel?.postMessage(message),
    hear: (call) => {
      const heard = (event: MessageEvent): void => call(event.data as Message);
      channel?.addEventListener("message", heard);
      return () => {
        channel?.removeEventListener("message", heard);
        channel?.close();
      };
    },
  };
}

function claim(locks: LockManager, name: string, told: (mine: boolean) => void): () => void {
  let release = (): void => undefined;
  const until = new Promise<void>((done) => {
    release = done;
  });
  const waiting = new AbortController();
  const have = (): Promise<void> => {
    if (!waiting.signal.aborted) told(true);
    return until;
  };
  const first = locks.request(name, { ifAvailable: true }, (lock) => {
    if (lock) return have();
    if (waiting.signal.aborted) return undefined;
    told(false);
    // Gives up only when it is told to.
    locks.request(name, { signal: waiting.signal }, have).catch(() => undefined);
    return undefined;
  });
  // A document that is being left may ask for no lock.
  first.catch(() => told(false));
  return () => {
    waiting.abort();
    release();
  };
}
