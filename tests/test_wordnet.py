"""Similarity of words: against NLTK on WordNet's own files, and against values that NLTK gave."""

import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest

from jpst.data import make_wordnet
from jpst.regions import ade20k, taxonomy, wordnet
from jpst.regions.ade20k import CLASSES
from jpst.regions.taxonomy import MEASURES, WordNetError

PAIRS = list(itertools.combinations(range(150), 2))
SPOTS = (  # with all senses, as the reference's library gives them
    ("building", "house", "li", 0.8175),
    ("building", "house", "wup", 0.9333),
    ("river", "lake", "li", 0.5196),
    ("tree", "grass", "li", 0.3677),
    ("sky", "cloud", "li", 0.0727),
)
IN_UNIT_INTERVAL = tuple(measure for measure in MEASURES if measure != "res")


def dictionaries():
    """Where WordNet's database files may be: its own environment variable, and where Debian installs them."""
    folders = [os.environ.get("WNSEARCHDIR"), "/usr/share/wordnet"]
    return [Path(folder) for folder in folders if folder and Path(folder, "index.sense").is_file()]


@pytest.fixture(scope="module")
def reader():
    """NLTK's reader of WordNet 3.0."""
    if not dictionaries():
        pytest.skip(
            "WordNet's files are absent: apt-get install wordnet-base wordnet-sense-index, or name their folder in "
            "WNSEARCHDIR"
        )
    with make_wordnet.opened(dictionaries()[0]) as opened:
        assert opened.get_version() == "3.0"
        yield opened


@pytest.fixture(scope="module")
def below(reader):
    """How many nouns are below each, counted by going down."""

    def count(noun):
        found, waiting = set(), [noun]
        while waiting:
            lower = waiting.pop()
            if lower not in found:
                found.add(lower)
                waiting += lower.hyponyms() + lower.instance_hyponyms()
        return len(found) - 1

    names = taxonomy._lines([entry.synset for entry in CLASSES], wordnet._excerpt()[0]).names
    return {name: count(reader.synset(name)) for name in names}


def nltk_li(a, b):
    depth = a.lowest_common_hypernyms(b)[0].max_depth()
    return math.exp(-0.2 * a.shortest_path_distance(b)) * math.tanh(0.6 * depth)


# --- values


@pytest.mark.parametrize(("a", "b", "measure", "expected"), SPOTS)
def test_values_of_the_reference(a, b, measure, expected):
    assert wordnet.similarity(a, b, measure=measure, senses="all") == pytest.approx(expected, abs=5e-5)


def test_values_that_nltk_gave():
    rows = [row.split() for row in NLTK_VALUES.replace("\n", ";").split(";") if row.strip()]
    assert len(rows) == 200
    index = np.array([[int(a) - 1, int(b) - 1] for a, b, *_ in rows]).T
    for column, measure in enumerate(("li", "wup", "path"), start=2):
        expected = [float(row[column]) for row in rows]
        np.testing.assert_allclose(wordnet.class_similarity(measure)[*index], expected, atol=6e-7, err_msg=measure)


def test_every_pair_of_classes_equals_nltk(reader):
    nouns = [reader.synset(entry.synset) for entry in CLASSES]
    expected = {
        "li": lambda a, b: nltk_li(a, b),
        "wup": lambda a, b: a.wup_similarity(b),
        "path": lambda a, b: a.path_similarity(b),
    }
    for measure, function in expected.items():
        table = wordnet.class_similarity(measure)
        theirs = np.array([function(nouns[a], nouns[b]) for a, b in PAIRS])
        ours = np.array([table[pair] for pair in PAIRS])
        assert len(ours) == 11175
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, err_msg=measure)


def test_hyponyms_are_counted_right(below):
    assert {name: wordnet._excerpt()[0][name].hyponyms for name in below} == below


def test_information_content_measures_equal_nltk(reader, below):
    """NLTK on counts that make -ln p the intrinsic information content; jcn and wpath have other formulas there."""
    rng = np.random.default_rng(0)
    counts = {reader.synset(name).offset(): count + 1 for name, count in below.items()}
    content = {"n": counts}
    counts[0] = 82115
    nouns = [reader.synset(entry.synset) for entry in CLASSES]
    tables = {measure: wordnet.class_similarity(measure) for measure in ("res", "lin", "jcn", "wpath")}

    def information(noun):
        return -math.log(counts[noun.offset()] / counts[0])

    for a, b in rng.permutation(PAIRS)[:1000].tolist():
        first, second = nouns[a], nouns[b]
        lowest = information(first.lowest_common_hypernyms(second)[0])
        apart = information(first) + information(second) - 2 * lowest
        path = first.shortest_path_distance(second)
        assert tables["res"][a, b] == pytest.approx(first.res_similarity(second, content), rel=1e-12, abs=1e-12)
        assert tables["lin"][a, b] == pytest.approx(first.lin_similarity(second, content), rel=1e-12, abs=1e-12)
        assert tables["jcn"][a, b] == pytest.approx(1 / (1 + apart), rel=1e-12)
        assert tables["wpath"][a, b] == pytest.approx(1 / (1 + path * 0.8**lowest), rel=1e-12)


def test_all_senses_equal_the_maximum_over_nltks(reader):
    rng = np.random.default_rng(1)
    senses = [
        {sense for name in entry.names for sense in make_wordnet._senses(reader, name)} or {reader.synset(entry.synset)}
        for entry in CLASSES
    ]
    functions = {
        "li": nltk_li,
        "path": lambda a, b: a.path_similarity(b),
        "wup": lambda a, b: max(a.wup_similarity(b), b.wup_similarity(a)),
    }
    for a, b in rng.permutation(PAIRS)[:100].tolist():
        for measure, function in functions.items():
            expected = max(function(x, y) for x in senses[a] for y in senses[b])
            ours = wordnet.class_similarity(measure, "all")[a, b]
            assert ours == pytest.approx(expected, rel=1e-12), (CLASSES[a].name, CLASSES[b].name, measure)


def test_the_excerpt_is_what_its_script_makes(reader):
    lines = wordnet.resources.files("jpst").joinpath("data/wordnet.tsv").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == make_wordnet.excerpt(reader)
    assert any("WordNet 3.0 Copyright 2006 by Princeton University" in line for line in lines)


# --- properties


@pytest.mark.parametrize("senses", ["fixed", "all"])
@pytest.mark.parametrize("measure", MEASURES)
def test_tables_are_symmetric_finite_and_largest_for_equals(measure, senses):
    table = wordnet.class_similarity(measure, senses)
    assert table.shape == (150, 150)
    assert table.dtype == np.float64
    assert np.isfinite(table).all()
    assert table.min() >= 0
    np.testing.assert_array_equal(table, table.T)
    assert (table.diagonal() >= table.max(axis=0) - 1e-12).all()
    if measure in IN_UNIT_INTERVAL:
        assert table.max() <= 1
    assert table is wordnet.class_similarity(measure, senses)
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0] = 1


@pytest.mark.parametrize("measure", MEASURES)
def test_more_senses_are_never_less_alike(measure):
    names = {word for entry in CLASSES for word in entry.names}
    words = wordnet._excerpt()[1]
    known = [entry.id - 1 for entry in CLASSES if any(entry.synset in words[name] for name in entry.names)]
    assert len(names) == 333 - 6
    # Not arcade machine, which WordNet lacks; dirt track, which it means otherwise; stairs, looked up as stair.
    assert len(known) == 147
    block = np.ix_(known, known)
    fixed, every = (wordnet.class_similarity(measure, senses)[block] for senses in ("fixed", "all"))
    assert (every >= fixed).all()


def test_names_stand_for_their_class():
    table = wordnet.class_similarity("wup")
    assert wordnet.similarity("edifice", "automobile", measure="wup") == table[1, 20]
    assert wordnet.by_name("wup")("car", "building") == table[1, 20]
    assert wordnet.similarity("sky", "sky", measure="path") == 1


def test_words_beyond_the_classes():
    assert wordnet.similarity("ocean", "sea") > 0.6 > wordnet.similarity("ocean", "tree")
    assert wordnet.similarity("cloud", "sky") == wordnet.similarity("sky", "cloud")
    assert wordnet.similarity("cloud", "cloud", measure="lin") == 1


def test_nouns_far_apart_are_still_comparable():
    """Root, equal nouns and abstract ones are where formulas divide by zero."""
    nouns = wordnet._excerpt()[0]
    chosen = sorted({taxonomy.ROOT, "abstraction.n.06", "physical_entity.n.01", "sky.n.01", "trade_name.n.01"})
    for measure in MEASURES:
        table = taxonomy.table(chosen, nouns, measure)
        assert np.isfinite(table).all(), measure
        if measure not in ("res", "li"):
            np.testing.assert_allclose(table.diagonal(), 1)
    root = chosen.index(taxonomy.ROOT)
    assert taxonomy.table(chosen, nouns, "lin")[root].tolist() == [float(n == taxonomy.ROOT) for n in chosen]


# --- what NLTK's corpora add, and what is said without them


@pytest.fixture
def corpora(monkeypatch):
    """corpora(folder): makes NLTK look for its data there and nowhere else, and forget what it had opened."""
    import nltk
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from nltk.corpus.util import LazyCorpusLoader

    def use(folder):
        monkeypatch.setattr(nltk.data, "path", [str(folder)])
        omw = LazyCorpusLoader("omw-2.0", nltk.corpus.reader.CorpusReader, r".*", encoding="utf8")
        monkeypatch.setattr(nltk.corpus, "wordnet", LazyCorpusLoader("wordnet", WordNetCorpusReader, omw))

    caches = wordnet._word_similarity, wordnet.class_similarity
    for cache in caches:
        cache.cache_clear()
    yield use
    for cache in caches:
        cache.cache_clear()


def test_without_corpora_the_error_says_what_to_install(corpora, tmp_path):
    corpora(tmp_path)
    with pytest.raises(WordNetError, match=r"'trombone'.*python -m nltk\.downloader wordnet;"):
        wordnet.similarity("trombone", "sky")
    assert wordnet.similarity("river", "sky") > 0


def test_an_unknown_measure_is_refused():
    with pytest.raises(WordNetError, match=r"no similarity measure 'cosine'.*li, wup, path"):
        wordnet.class_similarity("cosine")


def test_nltks_wordnet_knows_further_words(corpora, reader, tmp_path):
    corpora(Path(reader.root).parents[1])
    trombone, cornet = reader.synset("trombone.n.01"), reader.synset("cornet.n.01")
    assert wordnet.similarity("cornet", "trombone") == pytest.approx(nltk_li(cornet, trombone))
    assert wordnet.similarity("Trombone", "house", senses="all", measure="wup") == pytest.approx(
        max(trombone.wup_similarity(sense) for sense in reader.synsets("house", "n"))
    )
    assert wordnet.similarity("trombone", "trombone", measure="jcn") == 1
    with pytest.raises(WordNetError, match="'qwrtz' is not a noun"):
        wordnet.similarity("qwrtz", "sky")


def test_the_excerpt_is_complete():
    nouns, words = wordnet._excerpt()
    assert nouns[taxonomy.ROOT] == (82114, ())
    assert {upper for noun in nouns.values() for upper in noun.hypernyms} <= nouns.keys()
    assert {sense for senses in words.values() for sense in senses} <= nouns.keys()
    assert {entry.synset for entry in CLASSES} <= nouns.keys()
    assert [word for word, senses in words.items() if not senses] == ["arcade machine"]
    assert {name for entry in ade20k.CLASSES for name in entry.names} <= words.keys()
    for noun in nouns.values():
        assert all(nouns[upper].hyponyms > noun.hyponyms for upper in noun.hypernyms)


# Two ids of ADE20K, then li, wup and path as NLTK 3.10 computes them on WordNet 3.0: 80 pairs of classes at most three
# steps apart and 120 others, chosen at random.
NLTK_VALUES = """
1 44 0.546098 0.800000 0.250000; 2 21 0.198601 0.555556 0.111111; 2 105 0.667005 0.857143 0.333333
2 121 0.108428 0.333333 0.111111; 4 131 0.546098 0.800000 0.250000; 5 42 0.128136 0.444444 0.090909
5 66 0.128136 0.444444 0.090909; 6 50 0.162600 0.526316 0.100000; 7 33 0.296277 0.625000 0.142857
7 60 0.667005 0.857143 0.333333; 7 109 0.539852 0.769231 0.250000; 7 114 0.108428 0.333333 0.111111
8 11 0.548565 0.842105 0.250000; 8 98 0.449127 0.800000 0.200000; 8 100 0.548565 0.842105 0.250000
9 29 0.242571 0.588235 0.125000; 9 32 0.198601 0.555556 0.111111; 9 146 0.242571 0.588235 0.125000
10 42 0.104909 0.421053 0.083333; 10 104 0.057575 0.363636 0.066667; 10 131 0.128136 0.444444 0.090909
10 141 0.085892 0.400000 0.076923; 11 24 0.548565 0.842105 0.250000; 11 29 0.547993 0.823529 0.250000
11 57 0.548565 0.842105 0.250000; 11 82 0.242571 0.588235 0.125000; 13 18 0.667005 0.857143 0.333333
13 36 0.191157 0.500000 0.111111; 14 47 0.669320 0.875000 0.333333; 14 95 0.817509 0.933333 0.500000
15 64 0.198601 0.555556 0.111111; 15 118 0.133126 0.500000 0.090909; 15 149 0.108994 0.476190 0.083333
16 19 0.547993 0.823529 0.250000; 16 63 0.670019 0.888889 0.333333; 16 80 0.242571 0.588235 0.125000
18 127 0.667005 0.857143 0.333333; 19 29 0.669320 0.875000 0.333333; 19 36 0.547993 0.823529 0.250000
19 39 0.242571 0.588235 0.125000; 19 64 0.818363 0.941176 0.500000; 20 32 0.818620 0.947368 0.500000
20 70 0.670229 0.900000 0.333333; 20 98 0.670229 0.900000 0.333333; 20 100 0.548565 0.842105 0.250000
22 24 0.072682 0.285714 0.090909; 22 129 0.775179 0.888889 0.500000; 23 44 0.296277 0.625000 0.142857
23 126 0.242571 0.588235 0.125000; 23 139 0.198601 0.555556 0.111111; 24 32 0.818620 0.947368 0.500000
24 45 0.548565 0.842105 0.250000; 24 120 0.245377 0.631579 0.125000; 24 145 0.198601 0.555556 0.111111
26 61 0.072682 0.285714 0.090909; 26 85 0.546098 0.800000 0.250000; 26 104 0.162600 0.526316 0.100000
27 61 0.519618 0.727273 0.250000; 27 114 0.634663 0.800000 0.333333; 28 92 0.242571 0.588235 0.125000
28 140 0.547993 0.823529 0.250000; 29 82 0.296277 0.625000 0.142857; 29 92 0.296277 0.625000 0.142857
30 48 0.112823 0.375000 0.090909; 30 59 0.061919 0.315789 0.071429; 30 119 0.050695 0.300000 0.066667
31 53 0.198601 0.555556 0.111111; 31 68 0.162600 0.526316 0.100000; 31 79 0.200898 0.600000 0.111111
31 85 0.198601 0.555556 0.111111; 31 111 0.548737 0.857143 0.250000; 32 65 0.548565 0.842105 0.250000
32 66 0.242571 0.588235 0.125000; 32 98 0.818620 0.947368 0.500000; 32 100 0.670019 0.888889 0.333333
32 111 0.818620 0.947368 0.500000; 32 118 0.548565 0.842105 0.250000; 32 145 0.242571 0.588235 0.125000
33 59 0.449127 0.800000 0.200000; 33 78 0.133126 0.500000 0.090909; 33 118 0.162600 0.526316 0.100000
33 122 0.198601 0.555556 0.111111; 33 127 0.191157 0.500000 0.111111; 34 46 0.670229 0.900000 0.333333
34 72 0.089237 0.454545 0.076923; 34 78 0.548737 0.857143 0.250000; 36 45 0.670019 0.888889 0.333333
36 57 0.548565 0.842105 0.250000; 36 58 0.242571 0.588235 0.125000; 36 63 0.670019 0.888889 0.333333
37 88 0.818620 0.947368 0.500000; 37 126 0.366060 0.705882 0.166667; 39 85 0.447107 0.750000 0.200000
39 125 0.108994 0.476190 0.083333; 39 127 0.191157 0.500000 0.111111; 39 138 0.198601 0.555556 0.111111
40 143 0.242571 0.588235 0.125000; 41 55 0.198601 0.555556 0.111111; 41 90 0.200898 0.600000 0.111111
41 140 0.547993 0.823529 0.250000; 42 56 0.669320 0.875000 0.333333; 42 130 0.133126 0.500000 0.090909
42 139 0.547993 0.823529 0.250000; 42 148 0.669320 0.875000 0.333333; 43 74 0.050695 0.300000 0.066667
44 85 0.667005 0.857143 0.333333; 44 115 0.546098 0.800000 0.250000; 45 47 0.039889 0.235294 0.071429
45 63 0.670019 0.888889 0.333333; 45 76 0.449127 0.800000 0.200000; 45 98 0.548565 0.842105 0.250000
45 122 0.299705 0.666667 0.142857; 45 138 0.299705 0.666667 0.142857; 46 78 0.818697 0.952381 0.500000
46 137 0.000000 0.117647 0.062500; 47 95 0.818363 0.941176 0.500000; 47 115 0.048720 0.250000 0.076923
48 126 0.296277 0.625000 0.142857; 49 62 0.546098 0.800000 0.250000; 49 118 0.198601 0.555556 0.111111
50 88 0.133126 0.500000 0.090909; 50 101 0.000000 0.133333 0.071429; 50 102 0.162600 0.526316 0.100000
50 123 0.162600 0.526316 0.100000; 51 119 0.449311 0.833333 0.200000; 53 81 0.296277 0.625000 0.142857
53 97 0.546098 0.800000 0.250000; 53 125 0.162600 0.526316 0.100000; 56 99 0.547993 0.823529 0.250000
56 148 0.669320 0.875000 0.333333; 56 150 0.242571 0.588235 0.125000; 59 76 0.089237 0.454545 0.076923
60 97 0.817509 0.933333 0.500000; 61 79 0.059507 0.266667 0.083333; 61 114 0.519618 0.727273 0.250000
62 73 0.128136 0.444444 0.090909; 62 84 0.198601 0.555556 0.111111; 62 85 0.667005 0.857143 0.333333
62 88 0.242571 0.588235 0.125000; 62 125 0.162600 0.526316 0.100000; 63 91 0.164481 0.571429 0.100000
64 77 0.162600 0.526316 0.100000; 64 128 0.242571 0.588235 0.125000; 65 94 0.245377 0.631579 0.125000
67 73 0.301059 0.727273 0.142857; 67 150 0.085892 0.400000 0.076923; 68 130 0.133126 0.500000 0.090909
69 76 0.092372 0.352941 0.083333; 70 113 0.299705 0.666667 0.142857; 73 82 0.104909 0.421053 0.083333
75 87 0.162600 0.526316 0.100000; 77 88 0.164481 0.571429 0.100000; 77 121 0.048720 0.250000 0.076923
77 126 0.245377 0.631579 0.125000; 78 91 0.110255 0.521739 0.083333; 80 105 0.546098 0.800000 0.250000
80 115 0.669320 0.875000 0.333333; 81 112 0.299705 0.666667 0.142857; 82 139 0.242571 0.588235 0.125000
83 143 0.162600 0.526316 0.100000; 85 128 0.296277 0.625000 0.142857; 86 107 0.242571 0.588235 0.125000
87 107 0.818620 0.947368 0.500000; 88 98 0.200898 0.600000 0.111111; 89 100 0.162600 0.526316 0.100000
89 137 0.000000 0.117647 0.062500; 90 110 0.162600 0.526316 0.100000; 91 147 0.164481 0.571429 0.100000
93 134 0.546098 0.800000 0.250000; 97 126 0.296277 0.625000 0.142857; 99 148 0.547993 0.823529 0.250000
100 118 0.548565 0.842105 0.250000; 104 106 0.000000 0.090909 0.047619; 104 129 0.048720 0.250000 0.076923
105 115 0.546098 0.800000 0.250000; 107 135 0.162600 0.526316 0.100000; 108 134 0.162600 0.526316 0.100000
109 131 0.539852 0.769231 0.250000; 109 134 0.539852 0.769231 0.250000; 112 148 0.547993 0.823529 0.250000
113 139 0.547993 0.823529 0.250000; 114 129 0.634663 0.800000 0.333333; 115 120 0.242571 0.588235 0.125000
116 123 0.547993 0.823529 0.250000; 116 126 0.669320 0.875000 0.333333; 116 138 0.547993 0.823529 0.250000
119 125 0.670312 0.916667 0.333333; 119 142 0.089237 0.454545 0.076923; 119 149 0.073061 0.434783 0.071429
122 126 0.366060 0.705882 0.166667; 122 136 0.245377 0.631579 0.125000; 122 140 0.547993 0.823529 0.250000
123 126 0.547993 0.823529 0.250000; 123 148 0.547993 0.823529 0.250000; 124 135 0.000000 0.117647 0.062500
126 148 0.669320 0.875000 0.333333; 132 135 0.162600 0.526316 0.100000; 132 138 0.198601 0.555556 0.111111
137 144 0.000000 0.117647 0.062500; 142 144 0.670229 0.900000 0.333333
"""
