// Progress of the job that samples answers; at its end the page shows what came of it.

import { byId } from "./dialogs.js";
import { call } from "./net.js";

async function look() {
  const { status, body } = await call("GET", "/api/sample");
  if (status === 200 && body.state !== "running") return location.replace("/lead/sample");
  if (status === 401) return location.assign("/sign-in");
  if (status === 200) {
    byId("progress").value = body.done;
    byId("count").textContent = body.done;
  }
  setTimeout(look, 1000);
}

look();
