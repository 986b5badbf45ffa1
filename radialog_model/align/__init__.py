"""The paper's ``align`` variant: a query transformer trained on image-text pairs, then frozen before a language model.

``stage1`` and what it uses train the query transformer; ``modeling`` and ``processing`` are the finished model that
answers; ``build`` makes the second from the first.
"""
