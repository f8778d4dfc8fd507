-- One row: the boot of the host in which the registry last ran, and whether it
-- stopped in order. After a boot that it did not see coming, objects that were
-- acknowledged and whose rows were lost are found by their seals.
CREATE TABLE instance (
    id BIGINT NOT NULL PRIMARY KEY,
    boot_id TEXT NOT NULL,
    stopped_clean SMALLINT NOT NULL
);
