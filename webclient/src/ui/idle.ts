// Work that can wait until the page has nothing better to do.

/** Calls once, a second later at the latest; returns what cancels it. */
export function in_idle_time(call: () => void): () => void {
  if (typeof requestIdleCallback !== "function") {
    const timer = setTimeout(call, 50);
    return () => clearTimeout(timer);
  }
  const idle = requestIdleCallback(call, { timeout: 1000 });
  return () => cancelIdleCallback(idle);
}
