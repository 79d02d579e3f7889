# Prints the n-th block of README.md that is fenced as `language` (empty: a block without a language).
/^```/ {
  if (!inside) { language_here = substr($0, 4); inside = 1; if (language_here == language) ++count }
  else inside = 0
  next
}
inside && language_here == language && count == n
