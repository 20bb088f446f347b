// The Manager's own script. It adds to pages that work without it: nothing here carries.

const csrf = document.querySelector('meta[name="csrf"]')?.content ?? ""
const palette = document.getElementById("palette")

document.addEventListener("htmx:configRequest", event => {
  event.detail.headers["X-CSRF-Token"] = csrf
})

// ---------- copying

document.addEventListener("click", async event => {
  const button = event.target.closest("[data-copy]")
  if (!button) return
  await navigator.clipboard.writeText(button.dataset.copy)
  say("Copied.")
})

// ---------- toasts

const TOAST_MS = 10_000

function say(sentence) {
  const toast = document.createElement("div")
  toast.className = "toast"
  toast.textContent = sentence
  document.querySelector(".toasts").replaceChildren(toast)
  leave(toast)
}

// A toast that is pointed at, or has the focus, stays.
function leave(toast) {
  setTimeout(() => (toast.matches(":hover, :focus-within") ? leave(toast) : toast.remove()), TOAST_MS)
}

document.querySelectorAll("[data-toast]").forEach(leave)

// ---------- buttons that open and close dialogs, where the browser does not know `command` yet

if (!("command" in HTMLButtonElement.prototype)) {
  document.addEventListener("click", event => {
    const button = event.target.closest("button[commandfor]")
    const target = button && document.getElementById(button.getAttribute("commandfor"))
    if (button?.getAttribute("command") === "show-modal") target?.showModal()
    if (button?.getAttribute("command") === "close") target?.close()
  })
}

// ---------- forms

document.addEventListener("submit", event => {
  const button = event.submitter
  if (!button || event.defaultPrevented) return
  if (button.ariaBusy === "true") return event.preventDefault() // sent already
  button.ariaBusy = "true"
})

// A page that comes back from the browser's memory has sent nothing yet.
addEventListener("pageshow", () => {
  document.querySelectorAll('button[aria-busy="true"]').forEach(button => (button.ariaBusy = null))
})

function complain(input, sentence) {
  let note = document.getElementById(`${input.id}-wrong`)
  if (!note) {
    note = document.createElement("p")
    note.className = "wrong"
    note.id = `${input.id}-wrong`
    input.after(note)
  }
  note.textContent = sentence
  note.hidden = !sentence
  if (sentence) {
    input.setAttribute("aria-invalid", "true")
    input.setAttribute("aria-describedby", note.id)
  } else {
    input.removeAttribute("aria-invalid")
  }
}

// JSON is checked where it is typed; the server checks it again.
document.addEventListener("input", event => {
  const input = event.target
  if (!input.matches?.("textarea[data-json]")) return
  const text = input.value.trim()
  if (!text) return complain(input, "")
  try {
    JSON.parse(text)
    complain(input, "")
  } catch (error) {
    complain(input, placeOf(error.message, input.value))
  }
})

function placeOf(message, text) {
  const at = Number(/position (\d+)/.exec(message)?.[1] ?? text.length)
  const before = text.slice(0, at).split("\n")
  const near = text.slice(at, at + 1)
  const where = `Line ${before.length}, character ${before.at(-1).length + 1}`
  if (!near.trim()) return `${where}: the JSON ends before it is complete.`
  if (/[\]}]/.test(near) && /,\s*$/.test(text.slice(0, at))) return `${where}: remove the comma before “${near}”.`
  return `${where}: “${near}” cannot stand here.`
}

// ---------- keyboard: Ctrl K jumps, G then a letter opens a page, arrows move in lists

let afterG = false

document.addEventListener("keydown", event => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault()
    return palette?.showModal()
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return
  if (event.target.closest("input, textarea, select, [contenteditable], dialog")) return
  if (event.key === "ArrowDown" || event.key === "ArrowUp") return moveInRows(event)
  if (event.key === "/") {
    const search = document.querySelector('main input[type="search"]')
    if (search) event.preventDefault()
    return search?.focus()
  }
  if (afterG) {
    afterG = false
    const link = [...document.querySelectorAll("nav [data-key]")].find(each => each.dataset.key === event.key)
    if (link) event.preventDefault()
    return link?.click()
  }
  afterG = event.key === "g"
})

function moveInRows(event) {
  const links = [...document.querySelectorAll("[data-rows] th a")]
  if (!links.length) return
  const at = links.indexOf(document.activeElement)
  const next = links[event.key === "ArrowDown" ? at + 1 : at === -1 ? links.length - 1 : at - 1]
  if (!next) return
  event.preventDefault()
  next.focus()
}

// ---------- the palette

const hits = document.getElementById("hits")
const finder = palette?.querySelector("input")
const found = document.getElementById("found")
const JUMP_WAIT_MS = 150
const SAID_AFTER_MS = 400
const NOTHING = "Nothing is found. People are found by how their name, email or userId begins, all else by its id."
let asked = 0

function entries(links) {
  return [...document.querySelectorAll(links)].map(link => ({
    label: link.dataset.do || link.dataset.label || link.textContent.trim(),
    url: link.href,
    icon: link.querySelector("use")?.getAttribute("href") ?? "",
    keys: link.dataset.key ? `G ${link.dataset.key.toUpperCase()}` : "",
  }))
}

// A word of the label begins with each word that was typed.
function fits(label, typed) {
  const words = label.toLowerCase().split(/\s+/)
  return typed.toLowerCase().split(/\s+/).every(each => words.some(word => word.startsWith(each)))
}

function option({ label, url, icon, keys, note }) {
  const item = document.createElement("li")
  item.className = "item"
  item.setAttribute("role", "option")
  item.setAttribute("aria-selected", "false")
  item.dataset.url = url
  if (icon) item.append(iconOf(icon))
  const text = document.createElement("span")
  text.textContent = label
  item.append(text)
  if (note || keys) {
    const side = document.createElement(keys ? "kbd" : "small")
    side.textContent = keys || note
    item.append(side)
  }
  return item
}

function iconOf(address) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg")
  svg.setAttribute("class", "i")
  svg.setAttribute("aria-hidden", "true")
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use")
  use.setAttribute("href", address)
  svg.append(use)
  return svg
}

function heading(text) {
  const item = document.createElement("li")
  item.className = "group"
  item.setAttribute("role", "presentation")
  item.textContent = text
  return item
}

function options() {
  return [...hits.querySelectorAll('[role="option"]')]
}

function chosen() {
  return hits.querySelector('[aria-selected="true"]')
}

function choose(item) {
  chosen()?.setAttribute("aria-selected", "false")
  if (!item) return finder.removeAttribute("aria-activedescendant")
  item.setAttribute("aria-selected", "true")
  finder.setAttribute("aria-activedescendant", item.id)
  item.scrollIntoView({ block: "nearest" })
}

// What was chosen stays chosen when more is found. `still`: somebody is looking.
function show(groups, still) {
  const kept = chosen()?.dataset.url
  const items = groups.filter(([, each]) => each.length).flatMap(([name, each]) => [heading(name), ...each.map(option)])
  items.forEach((item, index) => (item.id = `hit${index}`))
  hits.replaceChildren(...items)
  hits.setAttribute("aria-busy", String(still))
  hits.hidden = !items.length
  found.className = items.length ? "sr" : "body muted"
  if (!items.length) found.textContent = still ? "Looking…" : NOTHING
  const all = options()
  finder.setAttribute("aria-expanded", String(all.length > 0))
  choose(all.find(each => each.dataset.url === kept) ?? all[0])
  if (!still) tellCount(all.length)
}

// Said once when the typing rests, so that it does not talk over the letters.
function tellCount(count) {
  const mine = asked
  setTimeout(() => {
    if (mine !== asked || !palette.open) return
    if (count) found.textContent = `${count} ${count === 1 ? "result" : "results"}.`
  }, SAID_AFTER_MS)
}

async function find() {
  const words = finder.value.trim()
  const mine = ++asked
  const here = [
    ["Pages", entries("#side nav a, #operator a").filter(each => !words || fits(each.label, words))],
    ["On this page", entries("main [data-do]").filter(each => !words || fits(each.label, words))],
  ]
  const looks = words !== "" && Boolean(palette.dataset.jump)
  show(here, looks)
  if (!looks) return
  await new Promise(done => setTimeout(done, JUMP_WAIT_MS))
  if (mine !== asked) return
  const more = await jump(words)
  if (mine === asked) show([...more.map(group => [group.name, group.hits]), ...here], false)
}

async function jump(words) {
  try {
    const answer = await fetch(`${palette.dataset.jump}?q=${encodeURIComponent(words)}`, { headers: { Accept: "application/json" } })
    if (answer.redirected) location.reload() // to sign in
    return answer.ok ? (await answer.json()).groups : [] // [{name, hits: [{label, url, icon, note}]}]
  } catch {
    return [] // pages are found without the server
  }
}

function go(url, anew) {
  if (anew) return open(url, "_blank", "noopener")
  palette.close()
  location.href = url
}

if (palette) {
  finder.addEventListener("input", find)
  finder.addEventListener("focus", () => finder.value || find())
  // When it closes, not when it opens: whoever types at once loses no letter.
  palette.addEventListener("close", () => {
    finder.value = ""
    found.textContent = ""
    asked++
  })
  finder.addEventListener("keydown", event => {
    const all = options()
    const at = all.indexOf(chosen())
    if (event.key === "ArrowDown") choose(all[(at + 1) % (all.length || 1)])
    else if (event.key === "ArrowUp") choose(all.at(at <= 0 ? -1 : at - 1))
    else if (event.key === "Escape") palette.close()
    else if (event.key === "Enter" && all[at]) go(all[at].dataset.url, event.ctrlKey || event.metaKey)
    else return
    event.preventDefault()
  })
  hits.addEventListener("click", event => {
    const item = event.target.closest("[data-url]")
    if (item) go(item.dataset.url, event.ctrlKey || event.metaKey)
  })
}

// ---------- badges of the side: how much needs attention where, asked for once the page is there

const BADGES_GOOD_MS = 30_000

async function badges() {
  const side = document.querySelector("[data-badges]")
  if (!side) return
  const place = `badges ${side.dataset.badges}`
  const kept = JSON.parse(sessionStorage.getItem(place) ?? "null")
  if (kept) paint(side, kept.told)
  if (kept && Date.now() - kept.at < BADGES_GOOD_MS) return
  const answer = await fetch(side.dataset.badges, { headers: { Accept: "application/json" } })
  if (!answer.ok || answer.redirected) return
  const told = await answer.json() // {name of a page: {number, urgent}}
  sessionStorage.setItem(place, JSON.stringify({ at: Date.now(), told }))
  paint(side, told)
}

function paint(side, told) {
  for (const link of side.querySelectorAll("[data-nav]")) {
    link.querySelector(".badge")?.remove()
    const { number, urgent } = told[link.dataset.nav] ?? {}
    link.dataset.label ??= link.textContent.trim()
    if (!number) continue
    const badge = document.createElement("span")
    badge.className = `badge ${urgent ? "bad" : "warn"}`
    badge.textContent = number
    const words = document.createElement("span")
    words.className = "sr"
    words.textContent = number === 1 ? " needs attention" : " need attention"
    badge.append(words)
    link.append(badge)
  }
}

badges().catch(() => {}) // a page is whole without them

// ---------- live: new rows are counted and enter when asked; numbers change in place

const RETRY_SECONDS_MAX = 30
const LIVE_ROWS_MAX = 200

class Live {
  // A table body with `data-live="URL"`: the stream sends events `rows` (HTML of rows, the newest first), `set`
  // (JSON {id: text}) and `ended` (why there will be no more). `data-live-status` names the element that says how
  // it stands, `data-live-more` the button that lets new rows in, `data-live-max` how many rows may stand there.
  constructor(place) {
    this.place = place
    this.status = document.getElementById(place.dataset.liveStatus)
    this.button = document.getElementById(place.dataset.liveMore)
    this.waiting = []
    this.count = 0
    this.failures = 0
    this.button?.addEventListener("click", () => this.enter())
    // A page that nobody sees is told nothing; it goes on where it was when somebody looks again.
    document.addEventListener("visibilitychange", () => (document.hidden ? this.rest() : this.wake()))
    this.open()
  }

  open() {
    const url = new URL(this.place.dataset.live, location.href)
    if (this.after) url.searchParams.set("after", this.after)
    this.source = new EventSource(url)
    this.source.addEventListener("open", () => {
      this.failures = 0
      this.tell("Live", "good live")
    })
    for (const kind of ["rows", "beat"]) {
      this.source.addEventListener(kind, event => (this.after = event.lastEventId || this.after))
    }
    this.source.addEventListener("rows", event => this.hold(event.data))
    this.source.addEventListener("set", event => this.set(JSON.parse(event.data)))
    this.source.addEventListener("ended", event => this.end(event.data))
    this.source.addEventListener("error", () => this.lost())
  }

  // The browser's own retry says nothing to whoever waits, so we close and count.
  lost() {
    this.source.close()
    let seconds = Math.min(2 ** this.failures++, RETRY_SECONDS_MAX)
    const tick = () => {
      if (seconds <= 0) return this.open()
      this.tell(`Lost connection, trying again in ${seconds} s`, "warn")
      seconds -= 1
      this.timer = setTimeout(tick, 1_000)
    }
    tick()
  }

  rest() {
    this.source.close()
    clearTimeout(this.timer)
    if (!this.ended) this.tell("Paused", "")
  }

  wake() {
    this.rest()
    if (!this.ended) this.open()
  }

  end(why) {
    this.ended = true
    this.source.close()
    this.tell(why, "warn")
  }

  // Announced once for each change of state, never for each row.
  tell(text, tone) {
    if (!this.status || this.status.textContent === text) return
    this.status.textContent = text
    this.status.className = `status ${tone}`
  }

  hold(html) {
    const holder = document.createElement("tbody")
    holder.innerHTML = html
    const rows = [...holder.children].filter(row => !row.id || !document.getElementById(row.id))
    this.count += rows.length
    this.waiting = [...rows, ...this.waiting].slice(0, this.place.dataset.liveMax || LIVE_ROWS_MAX)
    if (!this.count) return
    const words = this.count === 1 ? this.place.dataset.one : this.place.dataset.many
    this.button.textContent = `Show ${this.count.toLocaleString("en")} newer ${words}`
    this.button.hidden = false
  }

  enter() {
    document.getElementById("nothing-yet")?.remove()
    this.place.closest("[data-live-empty]")?.removeAttribute("data-live-empty")
    const first = this.waiting[0]
    this.place.prepend(...this.waiting)
    const most = Number(this.place.dataset.liveMax || LIVE_ROWS_MAX)
    while (this.place.rows.length > most) this.place.rows[most].remove()
    this.waiting = []
    this.count = 0
    this.button.hidden = true
    first?.querySelector("a")?.focus()
  }

  set(texts) {
    for (const [id, text] of Object.entries(texts)) {
      const element = document.getElementById(id)
      if (element && element.textContent !== text) element.textContent = text
    }
  }
}

document.querySelectorAll("[data-live]").forEach(place => new Live(place))
