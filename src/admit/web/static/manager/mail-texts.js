// The HTML of a mail beside its words: typed words are posted into a fresh frame, which takes the place of the
// former one when it has loaded. A fresh frame leaves no step in the browser's history.

const form = document.getElementById("texts")
const WAIT_MS = 400
let typedAt = 0

form.addEventListener("input", event => {
  if (event.target.name !== "html") return
  const mine = ++typedAt
  setTimeout(() => mine === typedAt && draw(), WAIT_MS)
})

function draw() {
  const former = document.getElementById("mail")
  const frame = former.cloneNode()
  frame.removeAttribute("src")
  frame.name = `mail${typedAt}`
  frame.id = ""
  frame.hidden = true
  former.after(frame)
  const sent = document.createElement("form")
  sent.method = "post"
  sent.action = form.dataset.frame
  sent.target = frame.name
  sent.hidden = true
  for (const [name, value] of new FormData(form)) {
    const field = document.createElement("textarea")
    field.name = name
    field.value = value
    sent.append(field)
  }
  document.body.append(sent)
  frame.addEventListener("load", () => {
    former.remove()
    frame.id = "mail"
    frame.hidden = false
  })
  sent.submit()
  sent.remove()
}
