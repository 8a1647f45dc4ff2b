// Who leaves takes along what this device keeps of him: drafts, answers that were not sent, the minutes until a break.
// Only once the server has done its part: a mistyped name must cost nothing.

const form = document.getElementById("forget");

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const reply = await fetch(form.action, { method: "POST", body: new FormData(form) }).catch(() => null);
  if (!reply?.redirected) return form.submit(); // shows what is wrong
  for (const name of Object.keys(localStorage))
    if (name.startsWith("assent.") && name.includes(form.dataset.person)) localStorage.removeItem(name);
  location.assign(reply.url);
});
