"""What all agents share: what they do (`events`), what their bottle gets (`plan`), who brings them (`registry`)."""
