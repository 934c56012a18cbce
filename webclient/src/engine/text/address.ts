/** An absolute address, or null if the text is none. (`URL.parse` is younger than some browsers that are in use.) */
export function addressIn(text: string): URL | null {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}
