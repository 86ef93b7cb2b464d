"""`python -m beyondscene.backend` is the command `beyondscene`."""

from .cli import main

raise SystemExit(main())
