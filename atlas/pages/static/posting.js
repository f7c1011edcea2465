// What the page sends to its server: a question in JSON, then bits. A report has no server, and asks nothing.
import { manifest, images, address } from "./data.js";

export const served = !manifest?.static;
export const mayWrite = served && !manifest?.readOnly;

// The response to a question; an error says in words why there is none.
export async function post(path, asked = {}, blobs = [], signal = undefined) {
  const [kind, ...rest] = path.split("/"), place = address([kind, images.key, ...rest].join("/"));
  let response;
  try {
    response = await fetch(place, { method: "POST", signal, headers: { "X-Atlas": "page", "Content-Type": "application/octet-stream" }, body: new Blob([JSON.stringify(asked), "\n", ...blobs]) });
  } catch (reason) {
    if (reason.name === "AbortError") throw reason;
    throw new Error("The server does not answer. Load the page again.");
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => ({}));
  throw new Error(sentence(told.error ?? "The server could not answer."));
}

export const ask = async (...question) => (await post(...question)).json();

const sentence = (words) => `${words.charAt(0).toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? "" : "."}`;

// Hand a file to the browser's downloads.
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
