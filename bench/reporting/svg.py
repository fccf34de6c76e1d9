"""Pictures for light and dark pages: colours that follow the reader's setting, on a card of their own."""

import html
import re

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({
    "svg.fonttype": "none",         # text stays text: small, sharp, and found by a search
    "svg.hashsalt": "wsgi",         # the same figures make the same file
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "axes.axisbelow": True,
})

# name: (in light pages, in dark ones). matplotlib draws with the first, which must all differ.
PALETTE = {
    "card": ("#fbfcfd", "#12171e"),
    "edge": ("#d8dee4", "#30363d"),
    "grid": ("#e4e8ec", "#252c35"),
    "ink": ("#1f2328", "#e6edf3"),
    "soft": ("#59636e", "#9aa4af"),
    "ours": ("#d9480f", "#ff8a4c"),
    "nginx": ("#2b8a3e", "#56c271"),
    "peer": ("#a5b1bf", "#566273"),
    "pale": ("#d5dce4", "#343e4b"),
    "blue": ("#1a6fb5", "#6cb6ff"),
    "violet": ("#7048c8", "#b197fc"),
    "pink": ("#c2377d", "#f783b4"),
    "olive": ("#8a7400", "#e0c341"),
    "teal": ("#0b8a8f", "#45c9cf"),
}
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


def colour(name):
    return PALETTE[name][0]


def write(figure, path, title):
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    path.write_text(followed(path.read_text(), title))


def followed(text, title):
    """matplotlib's SVG with colours that follow the page, the reader's own font, and a title for those who cannot see
    it. What does not know variables takes the light colours."""
    for name, (light, _) in PALETTE.items():
        text = re.sub(rf"\b(fill|stroke): {light}", rf"\1: {light}; \1: var(--{name})", text)
    text = re.sub(r"font-family: [^;\"]*", f"font-family: {FONT}", text)
    text = re.sub(r'(width|height)="(\d+)pt"', r'\1="\2"', text)
    text = re.sub(r" transform=\"rotate\(-0 [^\"]*\"", "", text)
    text = re.sub(r"<metadata>.*?</metadata>\n?", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.S)
    light, dark = ("; ".join(f"--{name}: {both[place]}" for name, both in PALETTE.items()) for place in (0, 1))
    style = (f"<title>{html.escape(title)}</title>\n"
             f"<style>svg {{ {light} }} @media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}</style>\n")
    return re.sub(r"(<svg [^>]*?)>\n?", rf'\1 role="img">\n{style}', text, count=1)
