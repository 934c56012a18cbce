// Work that can wait until the page has nothing better to do.

/** Calls once, after `latest` milliseconds even if there is no rest; returns what cancels it. */
export function in_idle_time(call: () => void, latest = 1000): () => void {
  if (typeof requestIdleCallback !== "function") {
    const timer = setTimeout(call, 50);
    return () => clearTimeout(timer);
  }
  const idle = requestIdleCallback(call, { timeout: latest });
  return () => cancelIdleCallback(idle);
}
