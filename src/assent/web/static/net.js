// Requests to our own server. The CSRF token stands in the page; the browser adds Origin itself.

const token = document.querySelector('meta[name="csrf"]')?.content || "";

// {status, body}; status 0 when the server could not be reached.
export async function call(method, path, body) {
  try {
    const response = await fetch(path, {
      method,
      headers: { "content-type": "application/json", "x-csrf-token": token, accept: "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      redirect: "error",
    });
    const isJson = (response.headers.get("content-type") || "").startsWith("application/json");
    return { status: response.status, body: isJson ? await response.json() : {} };
  } catch {
    return { status: 0, body: {} };
  }
}

// Names one act: sent twice, it counts once. Not crypto.randomUUID: browsers have it on https and this machine only.
export function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
