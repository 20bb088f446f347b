// Imports a file of people: reads it here and sends it in portions, so that it may be of any length, and an import
// that was interrupted goes on where it stopped. Without this script the forms send the file whole.

const PORTION_BYTES = 250_000
const HEAD_BYTES_MAX = 10_000
const ERRORS_SHOWN_MAX = 20

let file
let paused = false

const key = () => `admit-import:${app()}:${file.name}:${file.size}:${file.lastModified}`
const app = () => document.querySelector("[data-app]").dataset.app

function begin() {
  const chooser = document.querySelector("form[data-import]")
  chooser?.addEventListener("submit", event => {
    event.preventDefault()
    look(chooser)
  })
  const runner = document.querySelector("form[data-import-run]")
  if (!runner) return
  if (file) offerToGoOn(runner)
  runner.addEventListener("submit", event => {
    if (!file) return // the server has the whole of it
    event.preventDefault()
    run(runner, fresh())
  })
}

const fresh = () => ({ offset: 0, line: 0, created: 0, changed: 0, unchanged: 0, refused: 0 })

// The preview needs the beginning of the file only.
async function look(form) {
  const fields = new FormData(form)
  const chosen = form.elements.file.files[0]
  file = chosen ?? new File([form.elements.text.value], "pasted", { lastModified: 0 })
  fields.set("file", file.slice(0, PORTION_BYTES), file.name)
  fields.set("text", "")
  fields.set("name", chosen?.name ?? "")
  if (file.size > PORTION_BYTES) fields.set("more", "on")
  if (!file.size) fields.delete("file")
  const answer = await fetch(form.action, { method: "POST", body: fields })
  const shown = new DOMParser().parseFromString(await answer.text(), "text/html")
  const typed = form.elements.text.value
  document.querySelector("main").replaceWith(shown.querySelector("main"))
  const again = document.querySelector("form[data-import]")
  if (again) again.elements.text.value = typed
  document.querySelector("main").focus()
  scrollTo(0, 0)
  begin()
}

function offerToGoOn(form) {
  const kept = localStorage.getItem(key())
  if (!kept) return
  const tally = JSON.parse(kept)
  const button = document.createElement("button")
  button.type = "button"
  button.className = "btn primary"
  button.textContent = `Go on behind line ${tally.line.toLocaleString("en")}`
  button.addEventListener("click", () => run(form, tally))
  const note = document.createElement("p")
  note.className = "grow"
  note.textContent = `An earlier import of this file came to line ${tally.line.toLocaleString("en")}.`
  form.querySelector("button").classList.remove("primary")
  form.prepend(note, button)
}

async function run(form, tally) {
  const place = document.querySelector("[data-import-progress]")
  form.hidden = true
  place.hidden = false
  const pause = place.querySelector("[data-import-pause]")
  place.querySelector("h2").focus()
  paused = false
  pause.textContent = "Pause"
  pause.hidden = false
  pause.onclick = () => {
    if (paused) return run(form, tally)
    paused = true // the portion that is on its way is still told
    pause.disabled = true
  }
  const format = form.elements.format.value
  const head = format === "csv" ? await headOf(file) : 0
  if (!tally.offset) tally = { ...tally, offset: head, line: head ? 1 : 0 }
  try {
    while (tally.offset < file.size && !paused) {
      tally = added(tally, await send(form, format, head, tally), place)
      localStorage.setItem(key(), JSON.stringify(tally))
      show(place, tally)
    }
  } catch (error) {
    pause.textContent = "Try again"
    pause.disabled = false
    paused = true
    return say(place, `It stopped behind line ${tally.line.toLocaleString("en")}: ${error.message} What is imported stays.`)
  }
  pause.disabled = false
  if (paused) {
    pause.textContent = "Go on"
    return say(place, `Paused behind line ${tally.line.toLocaleString("en")}. What is imported stays.`)
  }
  localStorage.removeItem(key())
  show(place, tally)
  pause.hidden = true
  place.querySelector("h2").textContent = "Imported"
  say(place, `Everything is in, up to line ${tally.line.toLocaleString("en")}.`)
}

// How many bytes the first line of the file has, with its end.
async function headOf(file) {
  const bytes = new Uint8Array(await file.slice(0, HEAD_BYTES_MAX).arrayBuffer())
  return bytes.indexOf(10) + 1 || bytes.length
}

async function send(form, format, head, tally) {
  const end = Math.min(tally.offset + PORTION_BYTES, file.size)
  const fields = new FormData()
  fields.set("csrf", form.elements.csrf.value)
  fields.set("format", format)
  fields.set("head", head)
  fields.set("line", tally.line)
  if (end === file.size) fields.set("last", "on")
  fields.set("file", new Blob([file.slice(0, head), file.slice(tally.offset, end)]), file.name)
  const answer = await fetch(form.dataset.importRun, { method: "POST", body: fields })
  if (!answer.ok) {
    const page = new DOMParser().parseFromString(await answer.text(), "text/html")
    throw new Error(page.querySelector("main p")?.textContent.trim() || `The server answered ${answer.status}.`)
  }
  return answer.json()
}

function added(tally, done, place) {
  const list = place.querySelector("[data-import-errors]")
  for (const error of done.errors.slice(0, ERRORS_SHOWN_MAX - list.children.length)) {
    const item = document.createElement("li")
    item.textContent = `Line ${error.line.toLocaleString("en")}: ${error.message}`
    list.append(item)
  }
  if (!done.offset) throw new Error("The server came no further.")
  return {
    offset: tally.offset + done.offset,
    line: done.line,
    created: tally.created + done.created,
    changed: tally.changed + done.changed,
    unchanged: tally.unchanged + done.unchanged,
    refused: tally.refused + done.refused,
  }
}

function show(place, tally) {
  place.querySelector("progress").value = tally.offset / file.size
  for (const each of place.querySelectorAll("[data-import-count]")) {
    each.textContent = tally[each.dataset.importCount].toLocaleString("en")
  }
  if (!paused) say(place, `${Math.floor((tally.offset / file.size) * 100)} %, up to line ${tally.line.toLocaleString("en")}. You can leave this page: choose the same file to go on.`)
}

function say(place, sentence) {
  place.querySelector("[data-import-said]").textContent = sentence
}

begin()
