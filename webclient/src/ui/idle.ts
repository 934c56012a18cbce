// Work that can wait until the page has nothing better to do, and parts of the page that come when they are wanted.

/** Calls once, after `latest` milliseconds even if there is no rest; returns what cancels it. */
export function in_idle_time(call: () => void, latest = 1000): () => void {
  if (typeof requestIdleCallback !== "function") {
    const timer = setTimeout(call, 50);
    return () => clearTimeout(timer);
  }
  const idle = requestIdleCallback(call, { timeout: latest });
  return () => cancelIdleCallback(idle);
}

/** A loader that loads once; what failed to come is asked for again by the next call. */
export function once<T>(load: () => Promise<T>): () => Promise<T> {
  let loading: Promise<T> | null = null;
  return () => {
    loading ??= load().catch((reason) => {
      loading = null;
      throw reason;
    });
    return loading;
  };
}
