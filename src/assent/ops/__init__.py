"""Small tensor operations every loss and advantage is made of. Imports torch only.

Shape legend, used in the names of all tensors of `ops`, `losses` and `advantages`:
    N  answers, one a row
    T  answer positions, right-padded: answer tokens only, the end-of-sequence token included
    P  pairs of answers
    V  vocabulary
A `mask_NT` is boolean, True on a real answer token. What lies outside the mask is never read: it may be
NaN or infinite and changes neither a result nor a gradient.
"""
