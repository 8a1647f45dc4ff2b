// What was changed, word by word: longest common subsequence. Long texts are shown as taken out and put in.

export function diff(before, after) {
  const a = before.match(/\s+|[^\s]+/g) || [];
  const b = after.match(/\s+|[^\s]+/g) || [];
  if (a.length * b.length > 4e6) return [["del", before], ["ins", after]];
  const width = b.length + 1;
  const table = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      table[i * width + j] =
        a[i] === b[j] ? table[(i + 1) * width + j + 1] + 1 : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
  const parts = [];
  const push = (kind, text) => (parts.at(-1)?.[0] === kind ? (parts.at(-1)[1] += text) : parts.push([kind, text]));
  let i = 0, j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) push("same", a[i++]), j++;
    else if (j >= b.length || (i < a.length && table[(i + 1) * width + j] >= table[i * width + j + 1])) push("del", a[i++]);
    else push("ins", b[j++]);
  }
  return parts;
}

export function show(target, before, after) {
  target.replaceChildren(
    ...diff(before, after).map(([kind, text]) => {
      if (kind === "same") return document.createTextNode(text);
      const mark = document.createElement(kind);
      mark.textContent = text;
      return mark;
    }),
  );
}
