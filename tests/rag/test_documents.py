"""Every format becomes text with structure; every broken file becomes one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DocumentError
from rag.documents import document, load_sources


def test_markdown_front_matter_becomes_metadata(notes: Path) -> None:
    docs = {d.doc_id: d for d in load_sources([notes])}
    assert set(docs) == {"lora.md", "triton.md", "ethics/bias.md"}
    assert docs["lora.md"].title == "LoRA"
    assert docs["lora.md"].metadata["domain"] == 2
    assert docs["lora.md"].text.startswith("# LoRA")


def test_html_keeps_structure_and_drops_scripts(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<html><head><title>T</title><style>p{}</style></head><body><h2>Part</h2><p>Hello <b>world</b></p>"
        "<script>alert(1)</script><ul><li>one</li></ul><pre>x = 1\ny</pre></body></html>"
    )
    (doc,) = load_sources([tmp_path])
    assert doc.title == "T"
    assert doc.text == "## Part\n\nHello world\n\n- one\n\n```\nx = 1\ny\n```"


def test_docx_headings_lists_and_tables(tmp_path: Path) -> None:
    from docx import Document

    source = Document()
    source.add_heading("Guide", 1)
    source.add_paragraph("Plain text.")
    source.add_paragraph("item", style="List Bullet")
    table = source.add_table(1, 2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "a", "b"
    source.save(str(tmp_path / "g.docx"))
    (doc,) = load_sources([tmp_path])
    assert doc.text == "# Guide\n\nPlain text.\n\n- item\n\na | b"


def test_pdf_text(tmp_path: Path) -> None:
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "p.pdf"))
    canvas.drawString(72, 720, "Tensor cores multiply small matrices.")
    canvas.showPage()
    canvas.drawString(72, 720, "Second page.")
    canvas.save()
    (doc,) = load_sources([tmp_path])
    assert "Tensor cores multiply small matrices." in doc.text and "Second page." in doc.text
    assert doc.metadata["pages"] == 2


def test_notebook_cells_and_outputs(tmp_path: Path) -> None:
    import nbformat.v4 as v4

    out = v4.new_output("stream", text="42\n")
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# Lab"), v4.new_code_cell("print(42)", outputs=[out])])
    (tmp_path / "n.ipynb").write_text(json.dumps(notebook))
    (doc,) = load_sources([tmp_path])
    assert doc.text == "# Lab\n\n```python\nprint(42)\n```\n\n```\n42\n```"


def test_beir_rows(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "x/1", "title": "T", "text": "Body."}\n')
    (doc,) = load_sources([tmp_path / "corpus.jsonl"])
    assert (doc.doc_id, doc.title, doc.text) == ("x/1", "T", "Body.")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.md", b"---\ntitle: [\n---\nx", "front matter is not valid YAML"),
        ("a.txt", b"\xff\xfe\x00bad", "not UTF-8"),
        ("a.pdf", b"%PDF-1.4 nonsense", "not a readable pdf"),
        ("a.docx", b"nonsense", "not a readable docx"),
        ("a.ipynb", b"{", "not a readable ipynb"),
        ("a.md", b"  \n", "no text in it"),
        ("c.jsonl", b'{"_id": "1", "text": "ok"}\n{"_id": 2}\n', "c.jsonl:2: a corpus row needs"),
        ("c.jsonl", b"{oops\n", "c.jsonl:1: not JSON"),
        ("c.jsonl", b'{"_id": "1", "text": "a"}\n{"_id": "1", "text": "b"}\n', "already taken"),
    ],
)
def test_a_broken_file_is_one_clear_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DocumentError, match=says) as caught:
        load_sources([tmp_path])
    assert "\n" not in str(caught.value)


@given(st.text())
def test_stored_text_survives_the_disk(text: str) -> None:
    doc = document("d", "", text)
    assert doc.text.encode("utf-8").decode("utf-8") == doc.text
    assert "\r" not in doc.text and "\x00" not in doc.text
    assert document("d", "", doc.text) == doc
