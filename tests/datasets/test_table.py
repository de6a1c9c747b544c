import json

import pandas as pd
from kedro.io import DataCatalog


def test_a_table_with_lists_can_be_previewed_as_json(tmp_path):
    table = pd.DataFrame({"id": ["a", "b", "c"], "repairs": [["nfc", "entities"], [], ["nfc"]]})
    catalog = DataCatalog.from_config(
        {
            "corpus": {
                "type": "mental_slm.datasets.table.TableDataset",
                "filepath": str(tmp_path / "corpus.parquet"),
            }
        }
    )
    catalog.save("corpus", table)
    preview = json.loads(json.dumps(catalog["corpus"].preview(nrows=2)))
    assert preview["data"] == [["a", "nfc, entities"], ["b", ""]]
    assert catalog.load("corpus").shape == (3, 2)
