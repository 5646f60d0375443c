-- Texts below the working directory, and nothing above it.
-- expect: {"text": "one\ntwo\n", "there": true, "gone": false, "list": ["a.txt"], "refused": true}
File.write("corpus-out/a.txt", "one\n")
File.append("corpus-out/a.txt", "two\n")
local fine = pcall(File.read, "../outside.txt")
return {
  text = File.read("corpus-out/a.txt"), there = File.exists("corpus-out/a.txt"), gone = File.exists("corpus-out/b.txt"),
  list = File.list("corpus-out"), refused = not fine,
}
