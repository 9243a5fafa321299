"""Sentences of other languages go on after titles, addresses and initials, and end where they end."""

from dataclasses import replace

import pytest

from runtime.speech.normalization import spoken_sentences
from tests.runtime.speech.test_normalization import PHONEMES


@pytest.mark.parametrize(
    ("language", "text", "count"),
    [
        ("de", "Dr. Müller wohnt in der Hauptstr. 5 bei Prof. Schmidt. Er kommt z. B. am 3. Mai um ca. 5 Uhr.", 2),
        ("de", "Frau Dr. Weber und Hr. Meier kamen am 21. Juni. Es war schön.", 2),
        ("de", "Die Fa. Siemens hat ihren Sitz in München. Vgl. Nr. 7.", 2),
        ("de", "Er geht in die Schule. Fr. Weber lehrt dort.", 2),
        ("fr-fr", "M. Dupont et Mme. Martin habitent rue St. Jacques. Ils partent à 5 h.", 2),
        ("fr-fr", "Le Dr. Leblanc est arrivé av. J.-C. C'est vrai.", 2),
        ("fr-fr", "Il a vu MM. Durand et Petit. Puis il est parti.", 2),
        ("es", "El Sr. García y la Sra. López viven en la Av. Central. Llegan a las 5 p. m. hoy.", 2),
        ("es", "Ud. lo sabe. El Dr. Pérez también, pág. 12, núm. 3.", 2),
        ("fr-fr", "La pièce mesure 5 m. Elle est grande.", 2),
        ("it", "Il Dott. Rossi e il Sig. Bianchi arrivano alle 5. Ciao.", 2),
        ("nl", "Dhr. de Vries en mevr. Jansen komen om 5 uur. Tot ziens.", 2),
        ("pl", "Dr. Kowalski mieszka przy ul. Długiej. Jest np. pan Nowak.", 2),
        ("pt", "O Sr. Silva e a Dra. Souza moram na Av. Paulista. Chegam às 5.", 2),
    ],
)
def test_sentences_end_where_they_end(language, text, count):
    sentences = spoken_sentences(text, replace(PHONEMES, language=language)).sentences
    assert len(sentences) == count, sentences
