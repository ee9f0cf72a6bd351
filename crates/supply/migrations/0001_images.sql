CREATE TABLE image (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL UNIQUE,
    config_digest TEXT NOT NULL,
    architecture TEXT NOT NULL,
    env TEXT NOT NULL,
    user TEXT NOT NULL,
    working_dir TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    tools TEXT NOT NULL,
    imported_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE image_layer (
    image INTEGER NOT NULL REFERENCES image (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    diff_id TEXT NOT NULL,
    blob_digest TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    PRIMARY KEY (image, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_layer_by_diff_id ON image_layer (diff_id);
CREATE INDEX image_layer_by_blob ON image_layer (blob_digest);

CREATE TABLE image_name (
    name TEXT PRIMARY KEY COLLATE NOCASE,
    image INTEGER NOT NULL REFERENCES image (id) ON DELETE CASCADE,
    named_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX image_name_by_image ON image_name (image);
