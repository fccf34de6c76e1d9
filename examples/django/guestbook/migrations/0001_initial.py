"""The first tables of the guestbook, as `manage.py makemigrations` wrote them."""

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Entry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=60)),
                ('text', models.TextField(max_length=1000)),
                ('written', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('visible', models.BooleanField(default=True)),
            ],
            options={
                'verbose_name_plural': 'entries',
                'ordering': ['-written'],
            },
        ),
    ]
