// How a page calls the API: by REST, which works while the kernel is busy, or over the widget's comm.

/**
 * @typedef {{slug: string, name: string, backend: string, agent: string, bottle: string, state: string, created: number,
 *   keep: boolean, attached: boolean, owner: string, kernel: string, last: string, cpu: number | null, memory: number | null}}
 *   Bottle
 * @typedef {{id: number, slug: string, bottle: string, kind: string, created: number, expires: number | null,
 *   content: Record<string, any>, token: string, state: string, why: string, answer: string,
 *   outcome: {ok: boolean, text: string, held: boolean} | null}} Approval
 * @typedef {{time: number, method: string, host: string, port: number, path: string, verdict: string, why: string,
 *   status: number, up: number, down: number, allow: string}} Request
 * @typedef {{bottles?: string[], approvals?: string[], output?: string[], egress?: string[]}} Changed
 * @typedef {{status: number, body: any}} Answer
 * @typedef {{ask: (method: string, path: string, body?: object, waits?: () => void) => Promise<any>,
 *   onChange: (hear: (changed: Changed) => void) => () => void}} Client
 *   `waits` is called if the answer has to wait for a busy kernel
 */

/** Shown while a call waits for a busy kernel. */
export const BUSY = "The kernel is busy, and this page can reach only the kernel: it acts when the cell has ended. " +
  "To act at once, use a terminal: bb-jupyter approvals, then bb-jupyter approve, deny or stop.";

/** An error answer of the API, with its message. */
export class Refused extends Error {
  /** @param {number} status @param {any} body */
  constructor(status, body) {
    super([body?.message || `the server answered ${status}`, body?.hint].filter(Boolean).join(" "));
    this.status = status;
  }
}

/** @param {Answer} answer */
export function unwrap(answer) {
  if (answer.status !== 200) throw new Refused(answer.status, answer.body);
  return answer.body;
}

/** Return the address of this page's Jupyter server; `null` if the page has none. */
export function server() {
  const data = document.getElementById("jupyter-config-data")?.textContent;
  if (!data) return null;
  try {
    const { baseUrl = "/", token = "" } = JSON.parse(data);
    return { base: new URL(baseUrl, location.origin), token: String(token) };
  } catch {
    return null;
  }
}

/**
 * Call the server that this page came from.  Jupyter Server requires the XSRF cookie as a header too.
 *
 * @param {{base: URL, token: string}} at
 * @param {string} method
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<any>}
 */
export async function rest(at, method, path, body) {
  const xsrf = /(?:^|; )_xsrf=([^;]*)/.exec(document.cookie)?.[1] ?? "";
  /** @type {Record<string, string>} */
  const headers = { "X-XSRFToken": xsrf };
  if (at.token) headers.Authorization = `token ${at.token}`;
  if (body) headers["Content-Type"] = "application/json";
  const url = new URL(`bb-jupyter/${path}`, at.base);
  const answer = await fetch(url, {
    method, headers, credentials: "same-origin", cache: "no-store", body: body ? JSON.stringify(body) : undefined,
  });
  return unwrap({ status: answer.status, body: await answer.json().catch(() => ({})) });
}
