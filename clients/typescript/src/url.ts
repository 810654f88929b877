/** The base of all paths, without a slash at its end. */
export function httpUrl(url: string): string {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw new TypeError(`url: ${JSON.stringify(url)} is no URL: give one such as http://localhost:5002`);
  }
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') {
    throw new TypeError(`url: must begin with http:// or https://, not ${JSON.stringify(url)}`);
  }
  return parsed.href.replace(/\/$/, '');
}
