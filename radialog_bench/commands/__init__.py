"""Commands of ``radialog-bench``, a module each."""
