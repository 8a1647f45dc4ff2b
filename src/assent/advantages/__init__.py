"""From rewards to advantages: the KL term, reward scaling, and who gets the credit. Imports `ops` only.

Shape legend: N answers, T answer positions (right-padded). `mask_NT` is True on real tokens.
The order of an online step: scale rewards, clip them, add KL (`kl_penalty`), spread credit (`gae`),
whiten the advantages (`ops.masked.whiten`, over the whole rollout batch). Without a value model: shape the scores
(`overlong`), take KL off them (`kl_penalty`), compare an answer with its siblings (`group`).
"""
