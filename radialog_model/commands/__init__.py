"""The commands of ``radialog-model``, one a module; each imports torch only once it runs."""
