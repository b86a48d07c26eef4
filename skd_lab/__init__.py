"""skd_lab: learn, see and run Speculative Knowledge Distillation (arXiv 2410.11325)."""
