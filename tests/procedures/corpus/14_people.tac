-- Questions that nobody answers in time: their defaults hold. A note needs no answer.
-- expect: {"ok": false, "name": "Ada", "colour": "red", "decision": "reject"}
Human.notify("This is only a note.")
return {
  ok = Human.approve("Go on?", { timeout = 0.05, default = false }),
  name = Human.input({ message = "Your name?", timeout = 0.05, default = "Ada" }),
  colour = Human.select("Which?", { options = {"red", "green"}, timeout = 0.05, default = "red" }),
  decision = Human.review("Is it good?", { timeout = 0.05, default = { decision = "reject" } }).decision,
}
