// Loads the page again when a mail has come, and copies codes. Without it the page reloads every few seconds.
const shown = document.documentElement.dataset.newest;
const status = document.getElementById("status");

async function look() {
  try {
    const answer = await fetch("/inbox/newest", { cache: "no-store" });
    if (answer.ok && (await answer.text()) !== shown) return location.reload();
    status.textContent = answer.ok ? "Live" : "This page is closed to you";
  } catch {
    status.textContent = "Lost connection, trying again";
  }
  setTimeout(look, 1000);
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}

look();
