"""The rating screens and the lead's pages: server-rendered, no build step, no outside request, no torch."""
