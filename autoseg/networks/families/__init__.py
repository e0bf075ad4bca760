"""Network families, found by file name: each file has `build(channels, classes, *, knobs…)` and
`STRIDE`, the multiple that height and width of the input must be.
"""
