use std::collections::BTreeMap;

/// A table of the page.
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
}

/// One line of it: its name, and what stands under each column.
pub struct Row {
    pub name: String,
    cells: BTreeMap<String, String>,
}

impl Row {
    pub fn cell(&self, column: &str) -> &str {
        let cell = self.cells.get(column);
        cell.unwrap_or_else(|| panic!("no column {column:?} in the row {:?}", self.name))
    }
}

impl Table {
    /// The table whose head begins with these words.
    pub fn find(page: &str, head: &[&str]) -> Self {
        let mut lines = page.lines().map(split);
        let columns = lines
            .find(|cells| cells.len() >= head.len() && cells.iter().zip(head).all(|(a, b)| a == b))
            .unwrap_or_else(|| panic!("the page has no table that begins with {head:?}"));
        let rows = lines
            .skip(1)
            .take_while(|cells| !cells.is_empty())
            .map(|cells| {
                assert_eq!(cells.len(), columns.len(), "{cells:?}");
                assert!(cells.iter().all(|cell| !cell.is_empty()), "{cells:?}");
                Row {
                    name: cells[0].clone(),
                    cells: columns.iter().cloned().zip(cells).skip(1).collect(),
                }
            })
            .collect();
        Self {
            columns: columns.into_iter().skip(1).collect(),
            rows,
        }
    }

    pub fn names(&self) -> Vec<&str> {
        self.rows.iter().map(|row| row.name.as_str()).collect()
    }
}

/// The cells of a line, without backticks; none for a line that is not of a table.
fn split(line: &str) -> Vec<String> {
    let Some(inner) = line
        .strip_prefix('|')
        .and_then(|line| line.strip_suffix('|'))
    else {
        return Vec::new();
    };
    let cells = inner.split('|');
    cells
        .map(|cell| cell.replace('`', "").trim().to_owned())
        .collect()
}
