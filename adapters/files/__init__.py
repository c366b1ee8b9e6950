"""The adapter for files that a department's system exports: CSV of any customary encoding, workbooks (.xlsx).

`config` reads the one file that a site keeps for each source, `adapter` gives the records, `ledger` remembers
which rows were sent. Each form of file is one module that gives `rows.RawRow`s (`csvfile`, `workbook`).
"""
