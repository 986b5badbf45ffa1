"""Commands of ``radialog-bench`` that stand in modules of their own."""
