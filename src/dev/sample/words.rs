//! What sample rows are made of: names and texts of many scripts, with the quotes, backslashes, line breaks
//! and look-alike parameters that break careless code.

pub(super) const FIRST_NAMES: &[&str] = &[
    "Amara", "Ben", "Chloé", "Diego", "Elif", "Fatima", "Grace", "Hiroshi", "Ingrid", "João", "Kwame", "Łukasz", "Mei",
    "Nadia", "Oksana", "Priya", "Quinn", "Rosa", "Søren", "Tomás", "Uma", "Viktor", "Wanjirũ", "Ximena", "Yusuf", "Zoë",
    "美咲", "Дмитро", "محمد", "अनिका", "지훈", "Ελένη",
];

pub(super) const LAST_NAMES: &[&str] = &[
    "Abebe", "Brown", "Castillo", "D'Angelo", "Eriksson", "Fischer", "García-Márquez", "Haddad", "Ivanova", "Jensen",
    "Kowalczyk", "Lefèvre", "Müller", "Nguyễn", "O'Brien", "Patel", "Quispe", "Rossi", "Smith", "Tanaka", "Üstün",
    "van der Berg", "Williams", "Yılmaz", "Zhang", "山田", "Шевченко", "حسن", "김", "Παπαδοπούλου",
];

pub(super) const COMPANIES: &[&str] = &[
    "Acme Corp.", "Brasserie \"Le Coq d'Or\"", "Çelik & Sons", "Fjord Logistics AS", "Grünwald GmbH & Co. KG",
    "Harbour Light Books", "Kilimanjaro Coffee", "North/South Imports", "O'Neill's Bakery", "株式会社さくら",
    "ТОВ «Калина»", "C:\\Works Engineering", "Zeta <Design> Studio",
];

pub(super) const CITIES: &[&str] = &[
    "Accra", "Bergen", "Chicago", "Dublin", "Eskişehir", "Fortaleza", "Göteborg", "Hà Nội", "Kraków", "Lisboa", "Львів",
    "México", "Nairobi", "Osaka", "Pune", "Αθήνα", "서울", "القاهرة",
];

pub(super) const PRODUCTS: &[&str] = &[
    "Desk lamp, brass", "Espresso beans 1 kg", "27\" monitor", "Wool blanket \"Hygge\"", "Trail shoes, size 42",
    "Notebook A5, dotted", "Cast-iron pan 28 cm", "抹茶セット", "Garden hose 25 m", "USB-C cable 2 m", "Olive oil 5 l",
    "Bicycle bell", "Kinderstuhl Größe M",
];

pub(super) const ORDER_STATES: &[&str] = &["new", "paid", "packed", "shipped", "delivered", "returned", "cancelled"];

pub(super) const CURRENCIES: &[&str] = &["EUR", "USD", "GBP", "JPY", "PLN", "KES"];

pub(super) const TITLES: &[&str] = &[
    "Server room: temperature", "Weekly report is ready", "New sign-in from a new device", "Backup finished",
    "Licence ends in 14 days", "\"Quarter close\" starts today", "Прохання про доступ", "新しい申請があります",
];

pub(super) const SENTENCES: &[&str] = &[
    "Please ring twice, the bell is quiet.",
    "He said: \"Leave it with the neighbours\".",
    "Path on the share: \\\\files\\2026\\scans\\",
    "First line\nsecond line\r\n\tindented third line",
    "Not a parameter, only a text that looks like one: [@field:Last_Name]",
    "Nor this: [@out-hook:secret]",
    "{'looks': 'like', \"JSON\": [1, 2, 3]}",
    "配達は午後にお願いします。",
    "Дякуємо за швидку доставку!",
    "Grüße aus Köln 🎉 & <b>bis bald</b>",
    "شكرا جزيلا",
    "100 % cotton; wash at 30 °C.",
    "Null, true and 1e9 are words here.",
];
