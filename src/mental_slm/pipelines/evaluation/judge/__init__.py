"""The judge: language models that score answers from 0 to 5 by a written rubric, and checks on them.

The judge sees one answer at a time and never learns which system wrote it. Beside the models stand
two attacks (a fixed template, a padded copy of the tuned model's answer), the reference, ten anchors
of known quality and repeats, so that the numbers say how far the judge itself can be trusted.
"""
