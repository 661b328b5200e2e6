from pathlib import Path

from core.data.demo import VAL_FRACTION, demo_documents, prepare_demo
from core.data.verify import verify


def test_documents_are_the_chapters_and_nothing_is_lost() -> None:
    documents = demo_documents()
    assert len(documents) == 270  # 269 chapters, and the notice before Northanger Abbey
    assert 4_020_000 < sum(map(len, documents)) < 4_030_000
    assert documents[0].startswith("EMMA")
    assert documents[1].startswith("CHAPTER II\n")
    assert sum("It is a truth universally acknowledged" in document for document in documents) == 1


def test_no_chapter_heading_stands_inside_a_document() -> None:
    for document in demo_documents():
        heading = [line for line in document.splitlines() if line.startswith(("CHAPTER ", "Chapter "))]
        assert len(heading) <= 1


def test_the_demo_dataset_is_sound_and_split_as_promised(tmp_path: Path) -> None:
    dataset = prepare_demo(tmp_path, 2).dataset
    assert verify(tmp_path).problems == []
    train, val = dataset.splits["train"].tokens, dataset.splits["val"].tokens
    assert abs(val / (train + val) - VAL_FRACTION) < 0.01
    assert val > 32_768  # what demo.yml evaluates on
